/**
 * Tells zod, which checks catalogs in `@moq/watch`, not to try `new Function`: the page's policy forbids it.
 * Read when zod's schemas are made, so this is imported first.
 */
(globalThis as { __zod_globalConfig?: { jitless: boolean } }).__zod_globalConfig = { jitless: true };
export {};
