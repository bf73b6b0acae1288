#!/bin/busybox sh
