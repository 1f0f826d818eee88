"""Class statistics: a federated Gaussian classifier on a frozen base's features, without torch."""
