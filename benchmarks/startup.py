"""What `import fewtheory` and the first plan cost over bare Python, in fresh processes."""

from __future__ import annotations

import subprocess
import sys

from .timing import medians, show

FIRST_PLAN = """
import fewtheory as ft
path = ft.paths.VPLinear()
ft.samplers.dpm_solver_pp(path, ft.plan.grids.log_snr(path, steps=10), order=2)
"""


def main() -> None:
    """Time fresh processes."""

    def process(code: str):
        return lambda: subprocess.run([sys.executable, "-c", code], check=True)

    times = medians(
        {
            "bare Python": process("pass"),
            "import numpy": process("import numpy"),
            "import fewtheory": process("import fewtheory"),
            "import fewtheory, first plan": process(FIRST_PLAN),
            "import diffusers, first scheduler": process(
                "from diffusers import DPMSolverMultistepScheduler as D; D().set_timesteps(10)"
            ),
        },
        rounds=7,
    )
    show("a fresh process", times, "bare Python")


if __name__ == "__main__":
    main()
