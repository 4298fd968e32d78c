"""The last lines of a command: what it came to, paper by paper."""

from pathlib import Path

from reidlib.report.publish import summary_lines


def entry(title: str, *verdicts: str, status: str = "ok", wall_s: float = 200.0) -> dict:
    claims = [{"verdict": verdict} for verdict in verdicts]
    return {"title": title, "status": status, "wall_s": wall_s, "claims": claims}


def test_a_paper_is_told_by_its_verdicts_its_time_and_its_report():
    papers = {
        "gla": entry("GLA", "undecided", "reproduced", "reproduced", "not_run"),
        "ssan": entry("SSAN", status="failed", wall_s=5.0),
    }
    found = list(summary_lines({"papers": papers}, ["gla", "ssan", "imgnet"], Path("out")))
    assert found == [
        f"GLA: 2 reproduced, 1 undecided, 1 not run; 3 min 20 s; {Path('out/gla.html')}",
        f"SSAN: FAILED: no claims; 5 s; {Path('out/ssan.html')}",
    ]
