"""Version 1 of the service: ``understudy.proto``, and the code that ``make proto`` makes of it."""
