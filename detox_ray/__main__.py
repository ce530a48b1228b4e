"""`python -m detox_ray`: the command line."""

from detox_ray.cli import main

main()
