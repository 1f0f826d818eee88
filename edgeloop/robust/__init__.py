"""Averages that some forged uploads cannot steer: one rule for whatever an algorithm does.

A rule changes a round's uploads before the algorithm has them, so that every algorithm that
averages them, or learns from them, can be run with each:

- `norm`: what is more than ten times as long as the cohort's median length is shortened to that;
  what points the other way from a cohort that is of one mind is left out. It is the default: an
  ordinary run should have no such uploads, and all else stays as it is, to the bit.
- `clip`: what is farther from the cohort's median than three times the median distance is pulled
  in to the median distance; what is farther than ten times, or points the other way, is left out;
  all else stays as it is, to the bit.
- `median`, `trimmed-mean`, `geometric-median`: all are given the same numbers, the rule's.
- `krum`: those that are nearest to one another stay, about half of them.

Prototypes, and whatever else has labels, are compared class by class. With any rule no upload
counts more than ten times the median number of samples, with `norm` 30 times. Of fewer than
three nobody can say which is the odd one, and so nothing is done but to keep prototypes to three
times (`norm`: ten) the median length of all classes' together.
"""

from edgeloop.robust.guard import Guard, guarded

__all__ = ["Guard", "guarded"]
