"""Animations in CSS, in steps that repeat; viewers that ask for less motion, or know none, show one step as a still picture."""

from __future__ import annotations

from collections.abc import Sequence

SECONDS, MOST_SECONDS = 1.6, 36.0
"""Of one step; and of all, at most."""
MOVING = 0.22
"""Part of a step in which a window moves to its next place."""


def animations(places: Sequence[tuple[float, float]], still: int) -> str:
    """Write the CSS of a window that goes from place to place.

    Elements of class `move` move; those of class `now nN` are visible in step N alone, those of class `until uN` from it on.

    Args:
        places: x and y of each step, in pixels.
        still: the step that is shown without motion.
    """
    steps = len(places)
    seconds = min(SECONDS * steps, MOST_SECONDS)
    rules = [_moves(places), f"@keyframes now{{0%{{opacity:1}}{100 / steps:.3f}%,to{{opacity:0}}}}"]
    rules += [f".move{{animation:move {seconds:g}s infinite}}", f".now{{animation:now {seconds:g}s step-end infinite}}"]
    for step in range(steps):
        delay = seconds * (step / steps - 1) if step else 0.0
        rules.append(f".n{step}{{animation-delay:{delay:.3f}s}}")
        rules.append(f"@keyframes u{step}{{0%{{opacity:0}}{100 * step / steps:.3f}%,to{{opacity:1}}}}")
        rules.append(f".u{step}{{animation:u{step} {seconds:g}s step-end infinite}}")
    return f".now{{opacity:0}}.n{still}{{opacity:1}}@media (prefers-reduced-motion: no-preference){{{''.join(rules)}}}"


def _moves(places: Sequence[tuple[float, float]]) -> str:
    """Write the keyframes of the movement: each place is held, then left at the end of its step."""
    frames = []
    for step, (x, y) in enumerate(places):
        start, end = 100 * step / len(places), 100 * (step + 1 - MOVING) / len(places)
        frames.append(f"{start:.3f}%,{end:.3f}%{{transform:translate({x:g}px,{y:g}px)}}")
    x, y = places[0]
    return f"@keyframes move{{{''.join(frames)}to{{transform:translate({x:g}px,{y:g}px)}}}}"
