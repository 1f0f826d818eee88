"""The model card: a page beside a classifier, for whoever finds the two and knows nothing of us.

Its head is the one that public collections of models read: licence, library, tags.
"""

import json
from collections.abc import Mapping, Sequence

from edge.agent.predict import CLASS_NAMES, KEY, PIXELS, SHAPE

CARD = "model.md"

_PICTURE = """```python
import numpy, onnxruntime, PIL.Image
session = onnxruntime.InferenceSession("model.picture.onnx")
picture = numpy.asarray(PIL.Image.open("picture.jpg").convert("RGB"))  # height x width x 3
label, probabilities, scores = session.run(["label", "probabilities", "scores"], {"image": picture})
```
"""

_FLOATS = """```python
import numpy, onnxruntime
session = onnxruntime.InferenceSession("model.onnx")
inputs = numpy.zeros((BATCH), numpy.float32)
label, probabilities, scores = session.run(["label", "probabilities", "scores"], {"images": inputs})
```
"""

_LIMITS = """- Learned on one device's samples, and what others' said in sum; of other data
  nothing is known.
- `probabilities` are the softmax of `scores`, not calibrated; a class that nobody had a sample of
  has a score of minus infinity and the probability 0.
"""

_TURNED = """- `model.picture.onnx` does not turn a picture as its camera says (EXIF); Pillow does,
  by `ImageOps.exif_transpose`. It resizes as in training, within one grey level of 255.
"""

_WHERE = ("task", "run", "round", "device", "algorithm", "architecture", "version")


def card(metadata: Mapping[str, str], digest: str, forms: Sequence[str]) -> str:
    """Return the card of a classifier, as Markdown.

    Args:
        metadata: of its file, as `onnx_form` wrote them.
        digest: of its file, SHA-256.
        forms: names of the files beside it that say the same.
    """
    known = {key.removeprefix(KEY): text for key, text in metadata.items()}
    names, shape = json.loads(known[CLASS_NAMES]), json.loads(known[SHAPE])
    pictured = any("picture" in form for form in forms)
    accuracy = known.get("accuracy", "not known")
    classes = "\n".join(f"{number}. `{_shown(name)}`" for number, name in enumerate(names))
    where = "\n".join(f"| {name} | {_shown(known.get(name, '-'))} |" for name in _WHERE)
    example = _PICTURE if pictured else _FLOATS.replace("BATCH", ", ".join(map(str, [1, *shape])))
    what = "pixels, 0 to 255" if known[PIXELS] == "true" else "values as the training data had them"
    return f"""---
license: other
license_name: {json.dumps(known["licence"])}
library_name: onnx
tags: [edgeloop, classification]
---

# A classifier of {len(names)} classes

Licence: {_shown(known["licence"])}. Accuracy on its device's test samples: {accuracy}.
`model.onnx`: SHA-256 `{digest}`{"".join(f"; also `{form}`" for form in forms)}.

## Use

{example}
`model.onnx` takes `images`, float32, {" x ".join(map(str, ["batch", *shape]))}: {what}.
Every form has the outputs `label` (the best class's name), `probabilities` and `scores`.
It runs on onnxruntime {known["onnxruntime"]}.

## Classes

{classes}

## Where it is from

| | |
| --- | --- |
{where}

## Limits

{_LIMITS}{_TURNED if pictured else ""}"""


def _shown(text: str) -> str:
    """Return text that stays within its line, its cell and its quotes."""
    plain = "".join(letter if letter.isprintable() else "?" for letter in text)
    return plain.replace("|", "/").replace("`", "'")
