"""Small plots as inline SVG: no dependency, a few hundred bytes each.

Two kinds: curves (errors against steps, values against a bound), and the strip that every claim
has: how far each piece of evidence lies from what is expected, in units of its tolerance, on a
logarithmic axis. The package's own stays left of 1, a caught saboteur lies right of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from ..evidence import Evidence, Series

WIDTH, HEIGHT = 340.0, 190.0
LEFT, RIGHT, TOP, BOTTOM = 52.0, 10.0, 8.0, 34.0
OWN = ("#1f77b4", "#2ca02c", "#9467bd", "#17becf", "#8c564b", "#7f7f7f", "#bcbd22", "#e377c2")


def curves(
    own: Sequence[Evidence], wrong: Sequence[Evidence], expected: float | None = None
) -> str:
    """Series of the package's own evidence in colour, those of saboteurs in broken red.

    expected: an order; a thin line of that slope is drawn through the last own point.
    """
    mine = [(s, OWN[i % len(OWN)], e.what or s.label) for i, e in enumerate(own) for s in e.series]
    theirs = [(s, "var(--bad)", "saboteur") for e in wrong for s in e.series]
    shown = [*mine, *theirs]
    log = all(s.log for s, _, _ in mine)
    points = [
        (x, y) for s, _, _ in shown for x, y in zip(s.x, s.y, strict=True) if _usable(x, y, log)
    ]
    if len(points) < 2 or not mine:
        return ""
    if not log:  # a saboteur that explodes must not flatten our own curves
        ours = [y for s, _, _ in mine for y in s.y if math.isfinite(y)]
        low, high = min(ours), max(ours)
        room = max(0.6 * (high - low), 0.1 * abs(high))
        points = [(x, y) for x, y in points if low - room <= y <= high + room]
    axis_x, axis_y = (
        _Axis([p[0] for p in points], LEFT, WIDTH - RIGHT, log),
        _Axis([p[1] for p in points], HEIGHT - BOTTOM, TOP, log),
    )
    parts = [_frame(axis_x, axis_y, mine[0][0])]
    for series, colour, label in [*theirs, *mine]:
        pairs = zip(series.x, series.y, strict=True)
        xy = [(x, y) for x, y in pairs if _usable(x, y, log) and axis_y.shows(y)]
        path = " ".join(f"{axis_x(x):.1f},{axis_y(y):.1f}" for x, y in xy)
        dash = ' stroke-dasharray="3 3" opacity="0.7"' if label == "saboteur" else ""
        title = f"<title>{escape(label)}</title>"
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"{dash}>{title}</polyline>'
        )
        if label != "saboteur":
            dots = (
                f'<circle cx="{axis_x(x):.1f}" cy="{axis_y(y):.1f}" r="2.4" fill="{colour}">{title}</circle>'
                for x, y in xy
            )
            parts.extend(dots if len(xy) < 40 else ())
    if expected is not None and log:
        parts.append(_slope(axis_x, axis_y, mine[0][0], expected))
    return _svg(parts, HEIGHT, "curves behind the evidence")


def strip(own: Sequence[Evidence], wrong: Sequence[Sequence[Evidence]]) -> str:
    """Distances in tolerances: own evidence as dots, each saboteur's worst piece as a cross."""
    mine = [distance(e) for e in own]
    theirs = [max((distance(e) for e in group), default=0.0) for group in wrong]
    values = [min(max(v, 1e-4), 1e16) for v in [*mine, *theirs]]
    low, high = min(-1.0, math.log10(min(values))), max(1.0, math.log10(max(values)))
    height = 62.0

    def place(v: float) -> float:
        return 8 + (WIDTH - 16) * (math.log10(min(max(v, 1e-4), 1e16)) - low) / (high - low)

    one = place(1.0)
    parts = [
        f'<rect x="8" y="6" width="{one - 8:.1f}" height="30" fill="var(--good)" opacity="0.12"/>',
        f'<line x1="{one:.1f}" x2="{one:.1f}" y1="4" y2="38" stroke="var(--ink)" stroke-width="1"/>',
        f'<text x="{one:.1f}" y="52" text-anchor="middle">tolerance</text>',
    ]
    step = max(1, round((high - low) / 6))
    for k in range(math.ceil(low), math.floor(high) + 1, step):
        if abs(place(10.0**k) - one) > 34:
            parts.append(
                f'<text x="{place(10.0**k):.1f}" y="52" text-anchor="middle" class="dim">{_power(k)}</text>'
            )
    for v in theirs:
        x = place(v)
        parts.append(
            f'<path d="M{x - 4:.1f} 17l8 8m0 -8l-8 8" stroke="var(--bad)" stroke-width="2"><title>saboteur</title></path>'
        )
    parts += [
        f'<circle cx="{place(v):.1f}" cy="21" r="4" fill="var(--good)"><title>own</title></circle>'
        for v in mine
    ]
    return _svg(parts, height, "distance from what is expected, in tolerances")


def distance(e: Evidence) -> float:
    """How far the evidence lies from what is expected, 1 being the edge of what is accepted."""
    if not e.finite:
        return 1e16
    gap = {"equal": abs, "at most": lambda v: v, "at least": lambda v: -v}[e.relation](
        e.measured - e.expected
    )
    if e.tolerance > 0:
        return max(gap / e.tolerance, 0.0)
    size = max(abs(e.expected), 1e-300)
    return max(1 + gap / size, 0.0) if e.relation != "equal" else (1e16 if gap else 0.0)


class _Axis:
    def __init__(self, values: Sequence[float], start: float, end: float, log: bool):
        self.log, self.start, self.end = log, start, end
        low, high = min(values), max(values)
        self.low, self.high = (math.log10(low), math.log10(high)) if log else (low, high)
        pad = 0.05 * (self.high - self.low)
        if not log and pad < 1e-6 * abs(self.high):  # rounding is not a curve
            pad = 0.1 * abs(self.high)
        pad = pad or 0.5 * max(abs(self.high), 1e-12)
        self.low, self.high = self.low - pad, self.high + pad

    def __call__(self, value: float) -> float:
        v = math.log10(value) if self.log else value
        return self.start + (self.end - self.start) * (v - self.low) / (self.high - self.low)

    def shows(self, value: float) -> bool:
        """Whether the value lies on the axis."""
        return self.low <= (math.log10(value) if self.log else value) <= self.high

    def ticks(self) -> list[tuple[float, str]]:
        if self.log:
            low, high = math.ceil(self.low), math.floor(self.high)
            if high - low >= 1:
                step = max(1, (high - low) // 4)
                return [(10.0**k, _power(k)) for k in range(low, high + 1, step)]
            between = [
                10**self.low * (10 ** (self.high - self.low)) ** (k / 4) for k in (0.5, 2, 3.5)
            ]
            return [(v, f"{v:.2g}") for v in between]
        between = [self.low + (self.high - self.low) * k for k in (0.1, 0.5, 0.9)]
        return [(v, f"{v:.3g}") for v in between]


def _power(k: int) -> str:
    return "1" if k == 0 else f'10<tspan baseline-shift="super" font-size="8">{k}</tspan>'


def _usable(x: float, y: float, log: bool) -> bool:
    return math.isfinite(x) and math.isfinite(y) and (not log or (x > 0 and y > 0))


def _frame(axis_x: _Axis, axis_y: _Axis, first: Series) -> str:
    x_label, y_label = first.x_label, first.y_label
    parts = [
        f'<rect x="{LEFT}" y="{TOP}" width="{WIDTH - LEFT - RIGHT}" height="{HEIGHT - TOP - BOTTOM}" '
        'fill="none" stroke="var(--line)"/>'
    ]
    places = sorted(set(first.x)) if axis_x.log and len(first.x) <= 5 else []
    for value, text in [(v, f"{v:.4g}") for v in places] or axis_x.ticks():
        parts.append(
            f'<text x="{axis_x(value):.1f}" y="{HEIGHT - BOTTOM + 13}" text-anchor="middle">{text}</text>'
        )
    for value, text in axis_y.ticks():
        y = axis_y(value)
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="var(--line)" opacity="0.6"/>'
        )
        parts.append(f'<text x="{LEFT - 5}" y="{y + 3.5:.1f}" text-anchor="end">{text}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(
        f'<text x="{middle}" y="{HEIGHT - 6}" text-anchor="middle" class="dim">{escape(x_label)}</text>'
    )
    label = f'<text transform="translate(11 {(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)" text-anchor="middle" class="dim">'
    parts.append(f"{label}{escape(y_label)}</text>")
    return "".join(parts)


def _slope(axis_x: _Axis, axis_y: _Axis, series: Series, order: float) -> str:
    x1, y1 = series.x[-1], series.y[-1]
    x0 = series.x[0]
    y0 = y1 * (x1 / x0) ** order
    if not _usable(x0, y0, True):
        return ""
    y = max(min(axis_y(y0), HEIGHT - BOTTOM), TOP)
    return (
        f'<line x1="{axis_x(x0):.1f}" y1="{y:.1f}" x2="{axis_x(x1):.1f}" y2="{axis_y(y1):.1f}" '
        f'stroke="var(--ink)" stroke-width="0.8" opacity="0.5"><title>slope {order:g}</title></line>'
    )


def _svg(parts: Sequence[str], height: float, label: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH:g} {height:g}" width="{WIDTH:g}" height="{height:g}" role="img" '
        f'aria-label="{escape(label)}">{"".join(parts)}</svg>'
    )
