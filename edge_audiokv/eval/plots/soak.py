"""A soak on one page: resident memory against the cap, word errors, and the time it took."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edge_audiokv.eval.plots.common import load_pyplot, save
from edge_audiokv.eval.soak import SoakReport

_HALF_WINDOW = 15  # minutes on each side that one point of the error curve is a mean over


def plot_soak(report: SoakReport, path: Path) -> None:
    """Write `path` (png, svg, pdf). Raises MissingExtraError without matplotlib, or OutputError.

    Needs tens of MB: call it when the session is closed.
    """
    pyplot = load_pyplot()
    minutes = report.minutes
    hours = np.array([minute.time_s / 3600 for minute in minutes])
    figure, (memory, errors, pace) = pyplot.subplots(3, 1, figsize=(9, 9), sharex=True)
    memory.plot(hours, [minute.rss_bytes / 1e6 for minute in minutes], label="RSS (kernel)")
    anonymous_mb = [minute.anonymous_bytes / 1e6 for minute in minutes]
    memory.plot(hours, anonymous_mb, lw=0.8, label="not mapped files")
    memory.plot(hours, [minute.ledger_bytes / 1e6 for minute in minutes], "--", label="ledger")
    memory.axhline(report.cap_bytes / 1e6, color="tab:red", label="--mem")
    memory.axhline(report.peak_rss_bytes / 1e6, color="grey", lw=0.8, ls=":", label="peak RSS")
    memory.set_ylabel("MB")
    memory.set_ylim(0, report.cap_bytes / 1e6 * 1.1)
    memory.legend(loc="lower right", ncols=2)
    memory.set_title(
        f"{report.simulated_s / 3600:.1f} h of sound, slope {report.slope_mb_per_h:+.2f} MB/h, "
        f"{report.evictions} evictions, {report.shifts} shifts"
    )
    words = np.array([minute.words for minute in minutes], float)
    edits = np.array([minute.edits for minute in minutes], float)
    window = np.ones(2 * _HALF_WINDOW + 1)
    if len(minutes):
        rate = np.convolve(edits, window, "same") / np.maximum(
            np.convolve(words, window, "same"), 1
        )
        errors.plot(hours, 100 * rate[: len(hours)])
    errors.set_ylabel(f"WER %, {len(window)} min mean")
    errors.set_ylim(bottom=0)
    pace.plot(hours, [minute.compute_s / 60 for minute in minutes])
    pace.axhline(1.0, color="tab:red", lw=0.8)
    pace.set_ylabel("compute / sound")
    pace.set_ylim(bottom=0)
    pace.set_xlabel("hours of sound")
    figure.tight_layout()
    save(figure, path, dpi=110)
