from __future__ import annotations

from src.training.startup import warnings_in


def test_warnings_of_the_start_are_kept_and_notices_are_not():
    notices = "".join(
        (
            "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n",
            "I0000 00:00:1 port.cc:153] oneDNN custom operations are on.\n",
            "E0000 00:00:1 cuda_platform.cc:52] failed call to cuInit: INTERNAL\n",
            "W0000 00:00:1 gpu_device.cc:1] Cannot dlopen some GPU libraries.\n",
        )
    )

    assert warnings_in(notices) == ["W0000 00:00:1 gpu_device.cc:1] Cannot dlopen some GPU libraries.\n"]
