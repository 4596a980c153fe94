"""The parts of a load test, each a function from a Run to what it found, as plain values."""
