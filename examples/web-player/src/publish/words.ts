/** What the publishing page says, beside what it shares with the player in `../words`. */

import { relayUrl } from "../relay-url";
import type { Words } from "../words";

const { host, hostname } = relayUrl;

export const idle: Words = {
	title: "Nothing is published",
	text: "Choose what to send and press Start. The browser asks for permission first.",
};

export const asking: Words = { title: "Waiting for permission", text: "The browser asks which camera, microphone or screen to use.", busy: true };

export const soundOnly: Words = { title: "Sound only", text: "No picture is sent." };

export const insecure: Words = {
	title: "This page needs HTTPS",
	text:
		"Browsers give camera, microphone and WebTransport only to https:// pages, and to this machine itself (http://localhost). " +
		`Open https://${host}/publish.html. The browser warns of the relay's development certificate before; with a certificate of ` +
		`an authority for ${hostname} it does not.`,
};

export const noWebTransport: Words = {
	title: "This browser cannot connect to the relay",
	text: "It has no WebTransport. Chrome, Edge and other Chromium browsers have it.",
};

export const noWebCodecs: Words = {
	title: "This browser cannot encode live media",
	text: "It has no WebCodecs (VideoEncoder, AudioEncoder). Current versions of Chrome and Edge have them.",
};

export const nothingChosen: Words = { title: "Nothing to send", text: "Choose a picture or a sound." };

/** What `getUserMedia` and `getDisplayMedia` refuse with (Media Capture and Streams section 10.2). */
export function refused(what: string, error: unknown): Words {
	switch (error instanceof DOMException ? error.name : "") {
		case "NotAllowedError":
			return {
				title: `The browser does not give out the ${what}`,
				text: "Permission was refused, here or for this site in the browser's settings. Allow it there, and start again.",
			};
		case "NotFoundError":
		case "OverconstrainedError":
			return { title: `There is no ${what}`, text: "This machine has none, or it is switched off. Plug one in, or choose something else." };
		case "NotReadableError":
			return { title: `The ${what} does not answer`, text: "Another program may use it, or the system keeps it from the browser." };
		default:
			return { title: `The ${what} cannot be used`, text: String(error) };
	}
}

export const pictureEnded = "The picture has ended: the device is gone, or sharing was stopped. Choose another one to go on.";

export const soundEnded = "The sound has ended: the device is gone. Choose it again to go on.";

export const unlisted = (name: string) =>
	`The relay does not list “${name}”. From other machines it takes what public-publish allows, and lists what public-subscribe allows.`;
