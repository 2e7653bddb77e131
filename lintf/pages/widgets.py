"""A figure to play with: sliders and buttons above it where a kernel runs, a still picture where
none does."""

from __future__ import annotations

import html
import io
from collections.abc import Callable, Sequence
from numbers import Real

import ipywidgets
import matplotlib.pyplot as plt
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from lintf.checks import check_list

VIEW = "application/vnd.jupyter.widget-view+json"
ERROR = '<pre style="color: var(--jp-error-color1, #b00020); white-space: pre-wrap">{}</pre>'


def slider(label: str, values: Sequence[object], value: object) -> ipywidgets.SelectionSlider:
    """Returns a slider over the given values, which starts at one of them. Raises ValueError for
    another start."""
    return ipywidgets.SelectionSlider(
        **_options(label, values, value), layout=ipywidgets.Layout(width="95%", max_width="34em")
    )


def choice(label: str, values: Sequence[object], value: object) -> ipywidgets.ToggleButtons:
    """Returns a button for each of the given values, one of which is pressed. Raises ValueError for
    another start."""
    return ipywidgets.ToggleButtons(**_options(label, values, value))


def _options(label: str, values: Sequence[object], value: object) -> dict[str, object]:
    values = check_list(label, values)
    if value not in values:
        raise ValueError(f"{label} must start at one of {values}, got {value!r}")
    names = [f"{v:g}" if isinstance(v, Real) else str(v) for v in values]
    options = list(zip(names, values, strict=True))
    return {
        "description": label,
        "options": options,
        "value": value,
        "style": {"description_width": "initial"},
    }


class Controls:
    """Widgets and the figure that draw(**values) makes of their values, with one keyword for each
    widget.

    As the last value of a cell it is shown as the widgets above the picture, which is drawn anew
    whenever one of them changes. Beside that view it carries the picture as SVG: what a page
    without a kernel shows. The first drawing raises what draw raises. After that nobody would see
    an exception, so its message takes the picture's place.

    draw makes one figure with pyplot, as any cell of the book does, and takes care to be fast: a
    tenth of a second.
    """

    def __init__(self, draw: Callable[..., object], **widgets: ipywidgets.ValueWidget) -> None:
        self.draw, self.widgets = draw, widgets
        # One for all drawings keeps typeset labels: half of the time.
        self.canvas = FigureCanvasSVG(Figure())
        self.picture = ipywidgets.Image(value=self._drawn(), format="svg+xml")
        self.picture.layout = ipywidgets.Layout(max_width="100%", align_self="flex-start")
        self.message = ipywidgets.HTML()
        self.box = ipywidgets.VBox([*widgets.values(), self.message, self.picture])
        for widget in widgets.values():
            widget.observe(self._update, "value")

    def _drawn(self) -> bytes:
        """Returns the SVG of the one figure that draw makes, which is closed: a cell shows all that
        are left open."""
        before, buffer = set(plt.get_fignums()), io.BytesIO()
        try:
            self.draw(**{name: widget.value for name, widget in self.widgets.items()})
            made = set(plt.get_fignums()) - before
            if len(made) != 1:
                raise ValueError(f"draw must make one figure, made {len(made)}")
            figure = self.canvas.figure = plt.figure(*made)
            figure.set_canvas(self.canvas)
            for ax in figure.axes:
                ax.minorticks_off()  # on logarithmic axes they take a third of the time
            self.canvas.print_svg(buffer, metadata={"Date": None})
        finally:
            for number in set(plt.get_fignums()) - before:
                plt.close(number)
        return buffer.getvalue()

    def _update(self, _: object) -> None:
        try:
            self.picture.value, error = self._drawn(), ""
        except Exception as problem:  # shown to the reader: a widget's callback has no other way
            error = ERROR.format(html.escape(f"{type(problem).__name__}: {problem}"))
        self.message.value = error
        self.picture.layout.visibility = "hidden" if error else "visible"

    def __repr__(self) -> str:
        values = [f"{name}={widget.value!r}" for name, widget in self.widgets.items()]
        return f"Controls({', '.join(values)})"

    def _repr_mimebundle_(self, **_: object) -> dict[str, object]:
        view = {"version_major": 2, "version_minor": 0, "model_id": self.box.model_id}
        return {
            VIEW: view,
            "image/svg+xml": bytes(self.picture.value).decode(),
            "text/plain": repr(self),
        }
