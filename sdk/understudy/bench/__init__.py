"""`understudy bench`: what a deployment can do, measured from outside."""
