from __future__ import annotations


def test_it_trains_on_retained_images_as_many_as_there_are(tiny_unet, case_of, heart, zero, tiny):
    images, labels = tiny_unet(conditional=False), tiny_unet()
    result = tiny("benign_fine_tuning", images=100).run(case_of(images, images, heart))
    assert len(heart.retained_images) == 12
    assert result.curve.protocol.startswith("up to 12 retained images")
    result = tiny("benign_fine_tuning", images=9).run(case_of(labels, labels, zero))
    assert result.curve.protocol.startswith("up to 9 retained images")
    assert [p.x for p in result.curve.lines["result"]] == [0, 2]
    assert {cost.images for costs in result.costs.values() for cost in costs} == {9}
