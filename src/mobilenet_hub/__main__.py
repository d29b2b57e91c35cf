"""`python -m mobilenet_hub`: the same as the `mobilenet-hub` command."""

from mobilenet_hub.cli import main

main()
