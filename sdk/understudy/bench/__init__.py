"""The benchmark of deployments, ``understudy bench``: it measures from outside, as a client."""
