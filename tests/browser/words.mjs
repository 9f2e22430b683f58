// What the page says where it cannot play: words.mjs URL NAME
import { scenario, tell, waitForPhase, waitForWords } from "./browser.mjs";

const [url, name] = process.argv.slice(2);

await scenario(async (newPage) => {
	const page = await newPage();
	await page.goto(`${url}?broadcast=nothing.hang`);
	await waitForWords(page, "There is no broadcast “nothing.hang”");
	tell("wrong-name");
	// From there to one that exists, with the keyboard.
	await page.getByRole("link", { name }).focus();
	await page.keyboard.press("Enter");
	await waitForPhase(page, "live");
	tell("another");

	const insecure = await newPage();
	await insecure.goto(url.replace("127.0.0.1", "player.test"));
	await waitForWords(insecure, "This page needs HTTPS");
	tell("insecure");

	const lacking = await newPage();
	await lacking.addInitScript("delete globalThis.WebTransport");
	await lacking.goto(url);
	await waitForWords(lacking, "This browser cannot connect to the relay");
	tell("no-webtransport");

	const deaf = await newPage();
	await deaf.addInitScript(() => {
		VideoDecoder.isConfigSupported = async (config) => ({ supported: false, config });
	});
	await deaf.goto(`${url}#${name}`);
	await waitForWords(deaf, "This browser cannot decode the picture");
	tell("no-codec", { words: await deaf.locator("#message-text").innerText() });
});
