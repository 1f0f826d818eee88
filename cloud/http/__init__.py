"""HTTP as all services of the cloud speak it: bounded connections, TLS, who may ask what."""
