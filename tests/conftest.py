"""Property tests draw the same examples every time, so that a red run is red for everyone.

``HYPOTHESIS_PROFILE=other make test`` draws others.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the tests run side by side already

from hypothesis import settings

settings.register_profile("same", derandomize=True)
settings.register_profile("other")
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))
