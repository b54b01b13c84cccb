"""The services that are reached from outside, by port."""

FASTGPT_PORT, ONEAPI_PORT, XINFERENCE_PORT = 3000, 3001, 9997

PUBLISHED = {FASTGPT_PORT: "FastGPT", ONEAPI_PORT: "OneAPI", XINFERENCE_PORT: "Xinference"}
