"""What a Meltano project means in each environment, read from its files; Meltano is never imported."""
