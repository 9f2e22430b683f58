// Reads the burnt-in clock while the page plays: in-sync.mjs URL NAME MILLISECONDS
// First with the buffer that the page chooses, then with 200 ms.
import { readClock } from "./burnt-clock.mjs";
import { distinctFrames, scenario, tell, waitForPhase, waitUntouched, within } from "./browser.mjs";

const [url, name, duration] = process.argv.slice(2);

await scenario(async (newPage) => {
	const page = await newPage();
	await page.goto(`${url}#${name}`);
	await waitUntouched(page, () => !document.getElementById("sound").hidden);
	await page.getByRole("button", { name: "Turn on sound" }).click();
	await waitForPhase(page, "live");
	await page.waitForFunction(() => document.querySelector("moq-watch").audio.out.context.peek()?.state === "running");
	for (const buffer of ["real-time", "200"]) {
		await page.locator("#buffer").selectOption(buffer);
		// Past the join or the change, at which the player is still finding its place.
		await within(page.evaluate(distinctFrames, 90), "distinct frames");
		tell("watching", { buffer });
		tell("watched", await page.evaluate(readClock, Number(duration)));
	}
});
