"""The library inside an application: configs from the local agent, verified before they are applied."""

from sealwire.client.remote_config import RemoteConfig
from sealwire.client.session import Changes, Config, Identity, Session

__all__ = ["Changes", "Config", "Identity", "RemoteConfig", "Session"]
