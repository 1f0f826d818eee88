"""FederatedTasks and Generators of a Kubernetes cluster: makes what they ask, tells how it is."""
