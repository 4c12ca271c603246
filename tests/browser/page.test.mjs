// The page at /, as people use it: the real binary, a real node, a real Chromium. One process, so that all of it stands
// on one node; run by dev/browser test.

import "./scene.mjs";
import "./questions.mjs";
import "./people.mjs";
import "./reach.mjs";
import "./keys.mjs";
