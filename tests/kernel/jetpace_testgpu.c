// SPDX-License-Identifier: GPL-2.0
/*
 * A devfreq device that looks like an Orin Nano's GPU, for tests under QEMU. It binds to the device tree's
 * gpu@17000000, so that its paths are those of a Jetson: /sys/devices/platform/bus@0/17000000.gpu.
 *
 * Module parameters are the test's hands: they change what the "hardware" does, behind the devfreq core's back.
 */
#include <linux/delay.h>
#include <linux/devfreq.h>
#include <linux/module.h>
#include <linux/of.h>
#include <linux/platform_device.h>
#include <linux/pm_opp.h>

static uint delay_us;
module_param(delay_us, uint, 0644);
MODULE_PARM_DESC(delay_us, "how long a transition takes");

static int fail_errno;
module_param(fail_errno, int, 0644);
MODULE_PARM_DESC(fail_errno, "a transition fails with this error");

static ulong cap_hz;
module_param(cap_hz, ulong, 0644);
MODULE_PARM_DESC(cap_hz, "hidden cap: no clock above it runs, and nobody is told; 0 for none");

static uint busy_pct;
module_param(busy_pct, uint, 0644);
MODULE_PARM_DESC(busy_pct, "load that the stock governor sees");

static ulong transitions;
module_param(transitions, ulong, 0644);
MODULE_PARM_DESC(transitions, "how often target() ran");

static const unsigned long clocks_hz[] = { 306000000, 408000000, 510000000, 612000000, 624750000 };
static unsigned long programmed_hz;

static unsigned long running_hz(void)
{
	unsigned long cap = READ_ONCE(cap_hz);

	return cap && programmed_hz > cap ? cap : programmed_hz;
}

static int testgpu_target(struct device *dev, unsigned long *freq, u32 flags)
{
	struct dev_pm_opp *opp;

	transitions++;
	if (fail_errno)
		return -fail_errno;
	opp = devfreq_recommended_opp(dev, freq, flags);
	if (IS_ERR(opp))
		return PTR_ERR(opp);
	dev_pm_opp_put(opp);
	if (delay_us)
		usleep_range(delay_us, delay_us + delay_us / 20 + 1);
	programmed_hz = *freq;
	return 0;
}

static int testgpu_status(struct device *dev, struct devfreq_dev_status *status)
{
	status->current_frequency = running_hz();
	status->total_time = 100;
	status->busy_time = busy_pct;
	return 0;
}

static int testgpu_current(struct device *dev, unsigned long *freq)
{
	*freq = running_hz();
	return 0;
}

static struct devfreq_dev_profile profile = {
	.polling_ms = 50,
	.timer = DEVFREQ_TIMER_DEFERRABLE,
	.target = testgpu_target,
	.get_dev_status = testgpu_status,
	.get_cur_freq = testgpu_current,
};

static int testgpu_probe(struct platform_device *pdev)
{
	struct devfreq *devfreq;
	int i, err;

	for (i = 0; i < ARRAY_SIZE(clocks_hz); i++) {
		err = dev_pm_opp_add(&pdev->dev, clocks_hz[i], 0);
		if (err)
			goto remove_opps;
	}
	programmed_hz = clocks_hz[0];
	profile.initial_freq = clocks_hz[0];
	devfreq = devfreq_add_device(&pdev->dev, &profile, "simple_ondemand", NULL);
	if (IS_ERR(devfreq)) {
		err = PTR_ERR(devfreq);
		goto remove_opps;
	}
	platform_set_drvdata(pdev, devfreq);
	return 0;

remove_opps:
	dev_pm_opp_remove_all_dynamic(&pdev->dev);
	return err;
}

static int testgpu_remove(struct platform_device *pdev)
{
	devfreq_remove_device(platform_get_drvdata(pdev));
	dev_pm_opp_remove_all_dynamic(&pdev->dev);
	return 0;
}

static const struct of_device_id testgpu_match[] = {
	{ .compatible = "jetpace,testgpu" },
	{ }
};
MODULE_DEVICE_TABLE(of, testgpu_match);

static struct platform_driver testgpu_driver = {
	.probe = testgpu_probe,
	.remove = testgpu_remove,
	.driver = { .name = "jetpace_testgpu", .of_match_table = testgpu_match },
};
module_platform_driver(testgpu_driver);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("devfreq device with an Orin Nano's clocks, for tests");
