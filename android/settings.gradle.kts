// The library is a plain JVM module, which builds anywhere. The Android modules need an Android SDK
// and are left out where there is none.

pluginManagement {
    repositories {
        google()
        mavenCentral()
        gradlePluginPortal()
    }
}

dependencyResolutionManagement {
    repositoriesMode = RepositoriesMode.FAIL_ON_PROJECT_REPOS
    repositories {
        google()
        mavenCentral()
        // The Kotlin half of the Rust crate rustls-platform-verifier, as its README says to find it.
        maven("https://github.com/rustls/rustls-platform-verifier/raw/maven-archive/android-release-support/maven/") {
            content { includeGroup("rustls") }
        }
    }
}

rootProject.name = "dyno-android"
include(":lib")
if (hasAndroidSdk()) include(":sdk", ":sample")

fun hasAndroidSdk(): Boolean =
    System.getenv("ANDROID_HOME") != null || file("local.properties").isFile
