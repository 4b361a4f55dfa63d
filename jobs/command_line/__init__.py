"""How a command line becomes a config, and what it says about itself: flags, help pages, slips, streams."""
