package redlockd

// Version is the version of this package. It is set by deploy/set-version.
const Version = "0.1.0"
