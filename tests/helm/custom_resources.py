"""Run by the Python of tools/helm.sh: checks custom resources against their makers' models.

A model overlooks fields that it does not know; what is there and not in the model is told too.
"""

import sys
from typing import Any

import yaml
from cloudcoil.models.cert_manager import v1 as certificates
from cloudcoil.models.keda import v1alpha1 as keda
from cloudcoil.models.prometheus_operator import v1 as monitoring

MODELS = {
    ("cert-manager.io/v1", "Certificate"): certificates.Certificate,
    ("cert-manager.io/v1", "Issuer"): certificates.Issuer,
    ("keda.sh/v1alpha1", "ScaledObject"): keda.ScaledObject,
    ("monitoring.coreos.com/v1", "PodMonitor"): monitoring.PodMonitor,
    ("monitoring.coreos.com/v1", "PrometheusRule"): monitoring.PrometheusRule,
    ("monitoring.coreos.com/v1", "ServiceMonitor"): monitoring.ServiceMonitor,
}


def lost(given: Any, kept: Any, path: str) -> list[str]:
    """Return where a model has dropped something."""
    if isinstance(given, dict) and isinstance(kept, dict):
        found = [f"{path}.{key}" for key in given if key not in kept]
        both = [key for key in given if key in kept]
        return found + [
            each for key in both for each in lost(given[key], kept[key], f"{path}.{key}")
        ]
    if isinstance(given, list) and isinstance(kept, list):
        pairs = enumerate(zip(given, kept, strict=True))
        return [each for i, (one, two) in pairs for each in lost(one, two, f"{path}.{i}")]
    return []


checked = 0
for manifest in yaml.safe_load_all(sys.stdin):
    model = manifest and MODELS.get((manifest["apiVersion"], manifest["kind"]))
    if not model:
        continue
    checked += 1
    dumped = model.model_validate(manifest).model_dump(
        by_alias=True, exclude_unset=True, mode="json"
    )
    if missing := lost(manifest, dumped, manifest["kind"]):
        sys.exit(f"unknown fields: {', '.join(missing)}")
sys.stdout.write(f"{checked}\n")
