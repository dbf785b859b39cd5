"""The network of DELG's authors, as trained with TensorFlow: what both of its families share.

Cao, Araujo, Sim, "Unifying Deep Local and Global Features for Image Search", ECCV 2020: section
3.2 (GeM and whitening of the last stage), 3.3 (autoencoder and attention on the third stage). A
family is a ResNet with its own strides, paddings and epsilons: `slim` and `keras`.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from bench.methods._nets import pooling
from bench.methods._nets.resnet import ResNet

DIM, LOCAL_DIM = 2048, 128
P, EPS = 3.0, 1e-6  # of GeM
STRIDES = (16, 32)  # of local features, in pixels
FEEDS = ("block3", "decoder")  # what the attention sees: see `DelgTf`


class DelgTf(nn.Module):
    """A ResNet, GeM and whitening; 128-d local features with attention from its third stage.

    `backbone` gives the third stage's output, n x 1024 channels at stride 16 or 32, and the fourth
    stage's at stride 32. At stride 16, `local_stride` 32 takes every second row and column.
    """

    def __init__(
        self, backbone: Stages, eps: float, feed: str = "block3", local_stride: int = 32
    ) -> None:
        """Take the ResNet, the epsilon of its family's normalisation, and the local branch's kind.

        With `feed` "block3" the attention sees the third stage (the paper, as quoted in
        tensorflow/models#9877), with "decoder" what the autoencoder makes of it (the open code
        from December 2020 to April 2021); the decoder is not needed otherwise.
        """
        super().__init__()
        self.local_stride = local_stride
        self.backbone = backbone
        self.whitening = nn.Linear(2048, DIM)
        self.encode = nn.Conv2d(1024, LOCAL_DIM, 1)
        self.decode = nn.Conv2d(LOCAL_DIM, 1024, 1) if feed == "decoder" else None
        self.attention1 = nn.Conv2d(1024, 512, 1)
        self.attention_bn = nn.BatchNorm2d(512, eps=eps)
        self.attention2 = nn.Conv2d(512, 1, 1)

    def forward(self, batch: Tensor) -> Tensor:
        """Return (n, 2048), not normalised, from a normalised batch (n, 3, height, width)."""
        descriptors: Tensor = self.whitening(pooling.gem(self.backbone(batch)[1], P, EPS))
        return descriptors

    def local(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Return local features (n, 128, h, w), not normalised, and attention (n, 1, h, w) > 0.

        Position (row, column) is centred on pixel (row, column) * `local_stride` of the batch: the
        receptive field is 291 pixels wide, the padding 145, whatever the depth.
        """
        return self.local_of(self.for_local(self.backbone(batch)[0]))

    def for_local(self, third: Tensor) -> Tensor:
        """Return the positions of the third stage's output that local features are made of."""
        if self.local_stride == STRIDES[1] and not self.backbone.subsampled:
            return third[:, :, ::2, ::2]
        return third

    def local_of(self, third: Tensor) -> tuple[Tensor, Tensor]:
        """Return local features and attention of these positions (n, 1024, h, w)."""
        features = self.encode(third)
        seen = third if self.decode is None else functional.relu(self.decode(features))
        hidden = functional.relu(self.attention_bn(self.attention1(seen)))
        return features, functional.softplus(self.attention2(hidden))


class Stages(nn.Module):
    """The convolutional part of a timm ResNet that gives the outputs of its last two stages."""

    def __init__(self, resnet: ResNet, subsampled: bool) -> None:
        """Take the network's parts; `subsampled` says that its third stage has stride 32."""
        super().__init__()
        self.subsampled = subsampled
        self.conv1, self.bn1, self.maxpool = resnet.conv1, resnet.bn1, resnet.maxpool
        self.layer1, self.layer2 = resnet.layer1, resnet.layer2
        self.layer3, self.layer4 = resnet.layer3, resnet.layer4

    def forward(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Return (n, 1024, h, w) and (n, 2048, h', w') from (n, 3, height, width)."""
        x = self.maxpool(functional.relu(self.bn1(self.conv1(batch)), inplace=True))
        third: Tensor = self.layer3(self.layer2(self.layer1(x)))
        return third, self.layer4(third)
