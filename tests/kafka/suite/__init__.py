"""The parts of the suite against real Kafka; `run.py` beside this folder is its door."""
