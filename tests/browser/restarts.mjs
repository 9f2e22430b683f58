// Plays from a relay that stops and comes back: restarts.mjs URL NAME STOPS
// After each "gone" it waits for a line, which says that the relay is back; then "playing" comes again.
import { createInterface } from "node:readline";
import { distinctFrames, scenario, tell, waitForPhase, waitForWords, within } from "./browser.mjs";

const [url, name, stops] = process.argv.slice(2);
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

await scenario(async (newPage) => {
	const page = await newPage();
	const crashed = new Promise((_, reject) => page.on("crash", () => reject(new Error("the tab crashed"))));
	const play = async () => {
		await page.goto(`${url}#${name}`);
		for (let stop = 0; stop <= Number(stops); stop++) {
			await waitForPhase(page, "live");
			await within(page.evaluate(distinctFrames, 10), "distinct frames");
			tell("playing");
			if (stop === Number(stops)) return;
			await waitForWords(page, "The relay does not answer");
			tell("gone");
			await lines.next();
		}
	};
	await Promise.race([play(), crashed]);
});
process.stdin.destroy();
