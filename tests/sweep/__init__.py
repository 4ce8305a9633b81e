"""The kill sweep: every promise is asked again after a kill at every moment; `python -m tests.sweep`."""
