"""The FID's Inception network in PyTorch, with the names of pytorch-fid's weights: an oracle."""

import torch
import torch.nn.functional as F
from torch import nn


class Unit(nn.Module):
    def __init__(self, ins, outs, kernel, stride=1, padding=0):
        super().__init__()
        self.conv = nn.Conv2d(ins, outs, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outs, eps=0.001)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)))


def _average(x):
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


class Branches(nn.Module):
    """Named chains of units side by side; `pooled` says if one starts from x or a pool of it."""

    def __init__(self, ins, chains, pool, halving=False):
        super().__init__()
        self.chains, self.pool, self.halving = [], pool, halving
        for chain in chains:
            width = ins
            for name, outs, *settings in chain:
                self.add_module(name, Unit(width, outs, *settings))
                width = outs
            self.chains.append([name for name, *_ in chain])

    def run(self, x, names):
        for name in names:
            x = getattr(self, name)(x)
        return x

    def forward(self, x):
        outs = [
            self.run(self.pool(x) if "branch_pool" in names else x, names) for names in self.chains
        ]
        return torch.cat([*outs, F.max_pool2d(x, 3, stride=2)] if self.halving else outs, 1)


def block_a(ins, pool_features):
    chains = [
        [("branch1x1", 64, 1)],
        [("branch5x5_1", 48, 1), ("branch5x5_2", 64, 5, 1, 2)],
        [
            ("branch3x3dbl_1", 64, 1),
            ("branch3x3dbl_2", 96, 3, 1, 1),
            ("branch3x3dbl_3", 96, 3, 1, 1),
        ],
        [("branch_pool", pool_features, 1)],
    ]
    return Branches(ins, chains, _average)


def block_b(ins):
    chains = [
        [("branch3x3", 384, 3, 2)],
        [("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3, 1, 1), ("branch3x3dbl_3", 96, 3, 2)],
    ]
    return Branches(ins, chains, None, halving=True)


def block_c(c):
    wide, tall = ((1, 7), 1, (0, 3)), ((7, 1), 1, (3, 0))
    chains = [
        [("branch1x1", 192, 1)],
        [("branch7x7_1", c, 1), ("branch7x7_2", c, *wide), ("branch7x7_3", 192, *tall)],
        [
            ("branch7x7dbl_1", c, 1),
            ("branch7x7dbl_2", c, *tall),
            ("branch7x7dbl_3", c, *wide),
            ("branch7x7dbl_4", c, *tall),
            ("branch7x7dbl_5", 192, *wide),
        ],
        [("branch_pool", 192, 1)],
    ]
    return Branches(768, chains, _average)


def block_d():
    chains = [
        [("branch3x3_1", 192, 1), ("branch3x3_2", 320, 3, 2)],
        [
            ("branch7x7x3_1", 192, 1),
            ("branch7x7x3_2", 192, (1, 7), 1, (0, 3)),
            ("branch7x7x3_3", 192, (7, 1), 1, (3, 0)),
            ("branch7x7x3_4", 192, 3, 2),
        ],
    ]
    return Branches(768, chains, None, halving=True)


class BlockE(nn.Module):
    def __init__(self, ins, pool):
        super().__init__()
        self.pool = pool
        self.branch1x1 = Unit(ins, 320, 1)
        self.branch3x3_1 = Unit(ins, 384, 1)
        self.branch3x3_2a = Unit(384, 384, (1, 3), 1, (0, 1))
        self.branch3x3_2b = Unit(384, 384, (3, 1), 1, (1, 0))
        self.branch3x3dbl_1 = Unit(ins, 448, 1)
        self.branch3x3dbl_2 = Unit(448, 384, 3, 1, 1)
        self.branch3x3dbl_3a = Unit(384, 384, (1, 3), 1, (0, 1))
        self.branch3x3dbl_3b = Unit(384, 384, (3, 1), 1, (1, 0))
        self.branch_pool = Unit(ins, 192, 1)

    def forward(self, x):
        single = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        forks = [self.branch3x3_2a(single), self.branch3x3_2b(single)]
        forks += [self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double)]
        return torch.cat([self.branch1x1(x), *forks, self.branch_pool(self.pool(x))], 1)


class FidInceptionTorch(nn.Module):
    def __init__(self):
        super().__init__()
        self.Conv2d_1a_3x3 = Unit(3, 32, 3, 2)
        self.Conv2d_2a_3x3 = Unit(32, 32, 3)
        self.Conv2d_2b_3x3 = Unit(32, 64, 3, 1, 1)
        self.Conv2d_3b_1x1 = Unit(64, 80, 1)
        self.Conv2d_4a_3x3 = Unit(80, 192, 3)
        self.Mixed_5b, self.Mixed_5c = block_a(192, 32), block_a(256, 64)
        self.Mixed_5d, self.Mixed_6a = block_a(288, 64), block_b(288)
        self.Mixed_6b, self.Mixed_6c = block_c(128), block_c(160)
        self.Mixed_6d, self.Mixed_6e = block_c(160), block_c(192)
        self.Mixed_7a = block_d()
        self.Mixed_7b = BlockE(1280, _average)
        self.Mixed_7c = BlockE(2048, lambda x: F.max_pool2d(x, 3, stride=1, padding=1))
        self.fc = nn.Linear(2048, 1008)

    def forward(self, x):
        """[N, 3, H, W] in [0, 1] -> [N, 2048]."""
        x = F.interpolate(x, size=(299, 299), mode="bilinear", align_corners=False)
        x = 2 * x - 1
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = F.max_pool2d(x, 3, stride=2)
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x))
        x = F.max_pool2d(x, 3, stride=2)
        for name in ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c"):
            x = getattr(self, f"Mixed_{name}")(x)
        return F.adaptive_avg_pool2d(x, (1, 1)).flatten(1)


def random_network(seed=0):
    """Kernels that keep the scale, and running statistics away from 0 and 1."""
    torch.manual_seed(seed)
    network = FidInceptionTorch().eval().requires_grad_(False)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.mul_(6**0.5)  # from PyTorch's variance 1 / (3 fan_in) to He's
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, 0.0, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0.0, 0.3)
    return network
