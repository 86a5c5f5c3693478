__version__ = "0.1.0"  # set by deploy/set-version
