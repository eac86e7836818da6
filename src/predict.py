"""Classifies texts with trained models: `python -m src.predict RUN "a film I would see again"`.

This is short for `python -m src.use RUN predict TEXT`.
"""

import sys

from src.tasks.sentiment.predicting import main

if __name__ == "__main__":
    sys.exit(main())
