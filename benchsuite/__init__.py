"""benchsuite: which neural-network pruning criteria work.

This module is the public API for plugin authors; `__init__.pyi` lists its names. Importing it imports neither
torch nor anything else that is large: a name is loaded when it is first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
