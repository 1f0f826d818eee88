"""One federated task as a process: its cohort over MQTT, its ledger, its metrics, its HTTP."""
