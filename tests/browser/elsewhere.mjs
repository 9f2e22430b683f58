// Plays from a relay that is reached as another machine reaches it: elsewhere.mjs URL NAME, the URL with http
import { check, distinctFrames, listed, scenario, tell, waitForPhase, waitForWords, within } from "./browser.mjs";

const [url, name] = process.argv.slice(2);
const secure = url.replace(/^http:/, "https:");

await scenario(async (newPage) => {
	const plain = await newPage();
	await plain.goto(url);
	await waitForWords(plain, `Open ${secure}.`);
	tell("insecure");

	// As somebody who goes on after the browser's warning of the development certificate.
	const page = await newPage({ ignoreHTTPSErrors: true });
	await page.goto(`${secure}#${name}`);
	await waitForPhase(page, "live");
	check((await listed(page)).join() === name, `listed are ${await listed(page)}`);
	const frames = await within(page.evaluate(distinctFrames, 30), "distinct frames");
	tell("playing", { frames, host: await page.locator("#relay-host").innerText() });
});
