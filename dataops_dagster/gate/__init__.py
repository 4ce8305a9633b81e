"""May a promotion land? Pure: verdicts from facts; nothing is looked up here."""
