// What the publishing page says when it cannot publish, and that it goes on by itself: publisher-words.mjs URL NAME
import { check, scenario, tell, waitForPhase, waitForWords } from "./browser.mjs";
import { FAKE_DEVICES, finish, goOn, publish } from "./publisher.mjs";

const [url, name] = process.argv.slice(2);

await scenario(async (newPage) => {
	const refused = await newPage();
	await refused.addInitScript(() => {
		navigator.mediaDevices.getUserMedia = async () => {
			throw new DOMException("no", "NotAllowedError");
		};
	});
	await refused.goto(`${url}publish.html`);
	await refused.getByRole("button", { name: "Start" }).click();
	await waitForWords(refused, "The browser does not give out the camera and microphone");
	tell("refused");

	const insecure = await newPage();
	const elsewhere = `${url.replace("127.0.0.1", "player.test")}publish.html`;
	await insecure.goto(elsewhere);
	await waitForWords(insecure, "This page needs HTTPS");
	const advice = await insecure.locator("#message-text").innerText();
	// The relay has HTTPS at the same port, whatever its certificate is.
	check(advice.includes(`Open ${elsewhere.replace(/^http:/, "https:")}.`), advice);
	check(!advice.includes("certificate-file"), advice);
	tell("insecure");

	const page = await newPage();
	await publish(page, url, name);
	await page.getByRole("link", { name: "Watch it" }).waitFor();
	tell("live");
	await goOn();
	await waitForWords(page, "The relay does not answer");
	tell("gone");
	await goOn();
	await waitForPhase(page, "live");
	tell("back");
	await goOn();
}, FAKE_DEVICES);
finish();
