"""Three tiers as the demo's models are: how long they take, relative to each other, and how often they are right."""

from __future__ import annotations

from sluice.domain.enums import Tier
from tests.simulation.sim_mesh import Law

# Shares of right answers by complexity, as the shipped models' cards give them.
QUALITY = {
    Tier.FULL: (0.9795, 0.9681, 0.9615, 0.9695, 0.9482, 0.9389, 0.9323, 0.9269),
    Tier.LIGHT: (0.9918, 0.9681, 0.9562, 0.9509, 0.9243, 0.8964, 0.8884, 0.8511),
    Tier.QUANTIZED: (0.9891, 0.9827, 0.9721, 0.9708, 0.9469, 0.9256, 0.8977, 0.9096),
}
# A text of the simulated load has 65 tokens on the average, so an accelerator does about 370 of them in a second.
FULL = Law(tier=Tier.FULL, fixed_s=0.010, token_s=4e-5, quality=QUALITY[Tier.FULL], device="cuda")
LIGHT = Law(tier=Tier.LIGHT, fixed_s=0.002, token_s=1.2e-5, quality=QUALITY[Tier.LIGHT])
QUANTIZED = Law(tier=Tier.QUANTIZED, fixed_s=0.0015, token_s=1.0e-5, quality=QUALITY[Tier.QUANTIZED])
