// What the scenarios share: Chromium, the page, and lines of JSON for the test that started us.
import { createRequire } from "node:module";
import { join } from "node:path";

const { MOQ_WEB_MODULES: modules, MOQ_CHROMIUM: executablePath = "/usr/bin/chromium" } = process.env;
const { chromium } = createRequire(join(modules, "package.json"))("playwright-core");

/** Everything the page may take for one thing. */
export const LIMIT = 20_000;

/** Tells the test what has happened. */
export function tell(event, details = {}) {
	process.stdout.write(`${JSON.stringify({ event, ...details })}\n`);
}

export function check(holds, what) {
	if (!holds) throw new Error(what);
}

/**
 * Starts Chromium, runs the scenario with a page that is not open yet, and ends.
 *
 * QUIC stays on, sound needs a gesture as it does for everyone, and `player.test` is a name of this machine that browsers
 * do not know for one.
 */
export async function scenario(run, args = []) {
	const browser = await chromium.launch({
		executablePath,
		args: [
			"--no-sandbox",
			"--disable-gpu",
			"--no-first-run",
			"--disable-background-networking",
			"--disable-component-update",
			"--disable-sync",
			"--host-resolver-rules=MAP player.test 127.0.0.1",
			...args,
		],
	});
	try {
		await run((options) => newPage(browser, options));
	} catch (error) {
		tell("failed", { error: String(error?.stack ?? error) });
		process.exitCode = 1;
	} finally {
		await browser.close();
	}
}

/** A page with a profile of its own; what it says on its console goes to the test's log. */
async function newPage(browser, options) {
	const context = await browser.newContext(options);
	context.setDefaultTimeout(LIMIT);
	const page = await context.newPage();
	page.on("console", (message) => process.stderr.write(`page: ${message.type()}: ${message.text()}\n`));
	page.on("pageerror", (error) => process.stderr.write(`page: ${error.stack}\n`));
	await page.addInitScript(() => {
		globalThis.violations = [];
		addEventListener("securitypolicyviolation", (event) => {
			violations.push(`${event.effectiveDirective} ${event.blockedURI}`);
		});
	});
	return page;
}

/** Waits for this to hold in the page. What Playwright evaluates counts as a user's gesture, this does not. */
export async function waitUntouched(page, holds) {
	const session = await page.context().newCDPSession(page);
	const expression = `new Promise((resolve) => {
		const look = () => ((${holds})() ? resolve() : requestAnimationFrame(look));
		look();
	})`;
	await within(session.send("Runtime.evaluate", { expression, awaitPromise: true }), String(holds));
	await session.detach();
}

/** The outcome, unless it takes too long. */
export function within(promise, what) {
	let timer;
	const late = new Promise((_, reject) => {
		timer = setTimeout(() => reject(new Error(`${what}: not within ${LIMIT} ms`)), LIMIT);
	});
	return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** The words in place of the picture. */
export const waitForWords = (page, words) =>
	page.waitForFunction((words) => document.getElementById("message").innerText.includes(words), words);

export const waitForPhase = (page, phase) =>
	page.waitForFunction((phase) => document.body.dataset.phase === phase, phase);

export const listed = (page) => page.locator("#broadcasts a").allTextContents();

/** Draws that differ from all before, until there are so many; runs in the page. */
export const distinctFrames = (count) =>
	new Promise((resolve) => {
		const canvas = document.getElementById("canvas");
		const small = new OffscreenCanvas(64, 36).getContext("2d", { willReadFrequently: true });
		const seen = new Set();
		const look = () => {
			small.drawImage(canvas, 0, 0, 64, 36);
			seen.add(small.getImageData(0, 0, 64, 36).data.join());
			if (seen.size >= count) resolve(seen.size);
			else requestAnimationFrame(look);
		};
		look();
	});
