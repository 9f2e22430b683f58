// Publishes Chromium's fake camera and microphone, without the camera for a while, and again after a stop: publishes.mjs URL NAME
import { scenario, tell, waitForPhase } from "./browser.mjs";
import { FAKE_DEVICES, finish, goOn, publish, start } from "./publisher.mjs";

const [url, name] = process.argv.slice(2);

await scenario(async (newPage) => {
	const page = await newPage();
	await publish(page, url, name);
	await page.locator('[data-figure="Picture"]', { hasText: "avc1" }).waitFor();
	await page.locator('[data-figure="Sound"]', { hasText: "Opus" }).waitFor();
	tell("live", { picture: await page.locator('[data-figure="Picture"]').innerText() });
	await goOn();

	await page.locator("#picture").selectOption("none");
	await page.locator("#message", { hasText: "Sound only" }).waitFor();
	tell("no-picture");
	await goOn();

	await page.locator("#picture").selectOption("camera");
	await page.locator("#message").waitFor({ state: "hidden" });
	await waitForPhase(page, "live");
	tell("picture-again");
	await goOn();

	await page.getByRole("button", { name: "Stop" }).click();
	await waitForPhase(page, "idle");
	tell("stopped");
	await goOn();

	await start(page);
	tell("live-again", { violations: await page.evaluate(() => violations) });
	await goOn();
}, FAKE_DEVICES);
finish();
