// SPDX-License-Identifier: GPL-2.0
/*
 * A devfreq governor with the name and the two nodes of L4T's nvhost_podgov, for tests under QEMU: `user` = 1 takes the
 * clock from `freq_request`, at once; otherwise the lowest clock runs. Written from the nodes' description; NVIDIA's
 * load scaling is not in here.
 */
#include <linux/devfreq.h>
#include <linux/module.h>
#include "governor.h"

static unsigned long freq_request = ULONG_MAX;
static bool user;

static ssize_t apply(struct device *dev, size_t count)
{
	struct devfreq *devfreq = dev_get_drvdata(dev);
	int err;

	mutex_lock(&devfreq->lock);
	err = update_devfreq(devfreq);
	mutex_unlock(&devfreq->lock);
	return err ? err : count;
}

static ssize_t user_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%d\n", user);
}

static ssize_t user_store(struct device *dev, struct device_attribute *attr, const char *buf, size_t count)
{
	int err = kstrtobool(buf, &user);

	return err ? err : apply(dev, count);
}
static DEVICE_ATTR_RW(user);

static ssize_t freq_request_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%lu\n", freq_request);
}

static ssize_t freq_request_store(struct device *dev, struct device_attribute *attr, const char *buf, size_t count)
{
	int err = kstrtoul(buf, 0, &freq_request);

	return err ? err : user ? apply(dev, count) : count;
}
static DEVICE_ATTR_RW(freq_request);

static struct attribute *podgov_attrs[] = { &dev_attr_user.attr, &dev_attr_freq_request.attr, NULL };
static const struct attribute_group podgov_group = { .attrs = podgov_attrs };

static int podgov_target(struct devfreq *devfreq, unsigned long *freq)
{
	*freq = user ? freq_request : 0;
	return 0;
}

/* The nodes lie in the device's folder, whose drvdata the test GPU has set to its devfreq. */
static int podgov_event(struct devfreq *devfreq, unsigned int event, void *data)
{
	struct device *gpu = devfreq->dev.parent;

	switch (event) {
	case DEVFREQ_GOV_START:
		user = false;
		freq_request = devfreq->scaling_max_freq;
		return sysfs_create_group(&gpu->kobj, &podgov_group);
	case DEVFREQ_GOV_STOP:
		sysfs_remove_group(&gpu->kobj, &podgov_group);
		return 0;
	default:
		return 0;
	}
}

static struct devfreq_governor podgov = {
	.name = "nvhost_podgov",
	.get_target_freq = podgov_target,
	.event_handler = podgov_event,
};

static int __init podgov_init(void)
{
	return devfreq_add_governor(&podgov);
}
module_init(podgov_init);

static void __exit podgov_exit(void)
{
	devfreq_remove_governor(&podgov);
}
module_exit(podgov_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("devfreq governor with nvhost_podgov's nodes, for tests");
