from benchmarks.choices import questions, rows_of


def test_variants_take_turns_and_are_compared_with_the_first() -> None:
    calls: list[str] = []
    variants = {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}
    rows = rows_of("what", variants, repeats=2)
    assert calls == ["a", "b"] * 3
    assert [(title, name) for title, name, *_ in rows] == [("what", "a"), ("what", "b")]
    assert rows[0][3] == "1.00"


def test_every_question_has_an_alternative() -> None:
    for variants in questions().values():
        assert len(variants) > 1
