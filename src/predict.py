"""Classifies texts with trained trials: `python -m src.predict RUN "a film I would see again"`, short for `src.use RUN predict TEXT`."""

import sys

from src.tasks.sentiment.predicting import main

if __name__ == "__main__":
    sys.exit(main())
