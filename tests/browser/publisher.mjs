// What the scenarios of the publishing page share.
import { createInterface } from "node:readline";
import { waitForPhase } from "./browser.mjs";

/** A camera and a microphone that Chromium makes up, and gives to every page. */
export const FAKE_DEVICES = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"];

/** Publishes from a page that is not open yet. */
export async function publish(page, url, name) {
	await page.goto(`${url}publish.html`);
	await page.locator("#name").fill(name);
	await start(page);
}

export async function start(page) {
	await page.getByRole("button", { name: "Start" }).click();
	await waitForPhase(page, "live");
}

/** Lines of the test that started us: each says that what was told has been seen. */
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

export const goOn = () => lines.next();

/** Otherwise the process would wait for more. */
export const finish = () => process.stdin.destroy();
